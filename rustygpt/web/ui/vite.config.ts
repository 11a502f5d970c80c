import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig, loadEnv, type Plugin } from "vite";

/** Leaves `.br` and `.gz` beside each file of text, so that the server compresses nothing while it serves. */
function precompress(): Plugin {
  return {
    name: "precompress",
    apply: "build",
    generateBundle: {
      order: "post",
      handler(_options, bundle) {
        for (const [fileName, output] of Object.entries(bundle)) {
          const source = Buffer.from(output.type === "chunk" ? output.code : output.source);
          if (source.length < 1024 || !/\.(?:js|css)$/.test(fileName)) continue;
          this.emitFile({ type: "asset", fileName: `${fileName}.gz`, source: gzipSync(source, { level: 9 }) });
          const params = { [constants.BROTLI_PARAM_QUALITY]: 11 };
          this.emitFile({ type: "asset", fileName: `${fileName}.br`, source: brotliCompressSync(source, { params }) });
        }
      },
    },
  };
}

// `npm run dev` serves the page with hot reload and passes everything else to a running `rustygpt serve`.
export default defineConfig(({ mode }) => {
  const server = loadEnv(mode, ".", "RUSTYGPT_")["RUSTYGPT_DEV_SERVER"] ?? "http://127.0.0.1:8080";
  return {
    plugins: [svelte(), precompress()],
    build: {
      outDir: "../dist",
      emptyOutDir: true,
      target: "es2023",
      // No browser that runs es2023 needs the preload polyfill.
      modulePreload: { polyfill: false },
      // Nothing as a data: address: the page's policy takes scripts and styles from the server only.
      assetsInlineLimit: 0,
      // Two pages: the dashboard, and what describes the API.
      rolldownOptions: { input: ["index.html", "docs.html"] },
    },
    server: { proxy: { "/api": server, "/healthz": server, "/openapi.json": server, "/openapi.yaml": server } },
  };
});
