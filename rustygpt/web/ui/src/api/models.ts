// The model library, for administrators.

import { call, sendFile, withQuery } from "./client";
import type { Job, Model, Page } from "./types";

const JOBS = 20;

export const listJobs = (): Promise<Page<Job>> => call("GET", withQuery("/api/models/jobs", { limit: JOBS }));
export const pullModel = (source: string): Promise<Job> => call("POST", "/api/models/pull", { source });
export const cancelJob = (id: string): Promise<Job> => call("POST", `/api/models/jobs/${id}/cancel`);
export const deleteModel = (model: Model): Promise<void> =>
  call("DELETE", `/api/models/${`${model.provider}/${model.id}`.split("/").map(encodeURIComponent).join("/")}`);

/** Upload a GGUF file; `onprogress` is told how far it is, from 0 to 1. */
export function uploadModel(file: File, onprogress: (share: number) => void, signal: AbortSignal): Promise<Model> {
  const form = new FormData();
  form.append("name", file.name); // before the file: a name that is taken is refused before gigabytes have gone
  form.append("file", file);
  return sendFile("/api/models", form, onprogress, signal);
}
