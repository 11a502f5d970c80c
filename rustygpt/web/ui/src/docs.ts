import "./styles/tokens.css";
import "./styles/base.css";
import { mount } from "svelte";
import DocsPage from "./docs/DocsPage.svelte";

const target = document.getElementById("app");
if (target === null) throw new Error("docs.html has no #app");

export default mount(DocsPage, { target });
