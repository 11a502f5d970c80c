import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

// `npm run dev` serves the page with hot reload and passes everything else to a running `rustygpt serve`.
const server = process.env["RUSTYGPT_DEV_SERVER"] ?? "http://127.0.0.1:8080";

export default defineConfig({
  plugins: [svelte()],
  build: {
    outDir: "../dist",
    emptyOutDir: true,
    target: "es2023",
    // The page's policy has no inline scripts and no data: scripts; a preload polyfill is not needed by any browser that runs es2023.
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    sourcemap: false,
  },
  server: { proxy: { "/api": server, "/healthz": server } },
});
