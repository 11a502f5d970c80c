// The parts of an OpenAPI 3.1 document that the page shows, and how it is asked about them. Nothing here touches the browser.

export interface Schema {
  readonly $ref?: string;
  readonly type?: string;
  readonly format?: string;
  readonly description?: string;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly default?: unknown;
  readonly pattern?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: boolean | Schema;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly allOf?: readonly Schema[];
  readonly contentSchema?: Schema;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
}

export interface Parameter {
  readonly name: string;
  readonly in: "query" | "path" | "header";
  readonly required: boolean;
  readonly description: string;
  readonly schema: Schema;
}

type Content = Readonly<Record<string, { readonly schema: Schema }>>;

export interface Answer {
  readonly $ref?: string;
  readonly description: string;
  readonly headers?: Readonly<Record<string, unknown>>;
  readonly content?: Content;
}

export interface Operation {
  readonly operationId: string;
  readonly tags: readonly string[];
  readonly summary: string;
  readonly description?: string;
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: { readonly required: boolean; readonly content: Content };
  readonly responses: Readonly<Record<string, Answer>>;
  readonly security: readonly Readonly<Record<string, readonly string[]>>[];
}

export interface Description {
  readonly info: { readonly title: string; readonly version: string; readonly description: string };
  readonly tags: readonly { readonly name: string; readonly description: string }[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: {
    readonly schemas: Readonly<Record<string, Schema>>;
    readonly responses: Readonly<Record<string, Answer>>;
  };
}

/** An operation with its place. */
export interface Entry {
  readonly method: string;
  readonly path: string;
  readonly operation: Operation;
}

export interface Group {
  readonly name: string;
  readonly description: string;
  readonly entries: readonly Entry[];
}

/** The operations by tag, those that have every word of the query somewhere in their names; tags without any are left out. */
export function groupsOf(description: Description, query: string): readonly Group[] {
  const words = query.toLowerCase().split(/\s+/).filter((word) => word !== "");
  const entries = Object.entries(description.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => ({ method: method.toUpperCase(), path, operation })),
  );
  const found = entries.filter(({ method, path, operation }) => {
    const text = `${method} ${path} ${operation.operationId} ${operation.summary} ${operation.tags.join(" ")}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
  return description.tags
    .map((tag) => ({ ...tag, entries: found.filter((entry) => entry.operation.tags.includes(tag.name)) }))
    .filter((group) => group.entries.length > 0);
}

/** The last word of a reference: the name of what it refers to. */
export const nameOf = (reference: string): string => reference.slice(reference.lastIndexOf("/") + 1);

/** What a reference refers to, or what the parts of a schema come to; what is neither stays as it is. */
export function resolve(description: Description, schema: Schema): Schema {
  if (schema.$ref !== undefined) return description.components.schemas[nameOf(schema.$ref)] ?? {};
  if (schema.allOf === undefined) return schema;
  return schema.allOf.map((part) => resolve(description, part)).reduce((whole, part) => ({
    ...whole,
    ...part,
    properties: { ...whole.properties, ...part.properties },
    required: [...(whole.required ?? []), ...(part.required ?? [])],
  }), {});
}

export function resolveAnswer(description: Description, answer: Answer): Answer {
  return answer.$ref === undefined ? answer : (description.components.responses[nameOf(answer.$ref)] ?? answer);
}

const union = (schema: Schema): readonly Schema[] => schema.anyOf ?? schema.oneOf ?? [];

/** A schema in a few words: a name, a type, the values that there are. */
export function wordsFor(schema: Schema): string {
  if (schema.$ref !== undefined) return nameOf(schema.$ref);
  if (schema.enum !== undefined) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.type === "array") return `list of ${schema.items === undefined ? "anything" : wordsFor(schema.items)}`;
  const parts = union(schema);
  if (parts.length > 0) return parts.map(wordsFor).join(" | ");
  if (schema.allOf !== undefined) return schema.allOf.filter((part) => part.$ref !== undefined).map(wordsFor).join(" & ");
  if (schema.format !== undefined) return schema.format;
  return schema.type ?? "anything";
}

/** The bounds of a value, in words; empty where there are none. */
export function boundsOf(schema: Schema): string {
  const said: string[] = [];
  const say = (low: number | undefined, high: number | undefined, what: string): void => {
    if (low !== undefined && high !== undefined) said.push(`${low} to ${high}${what}`);
    else if (low !== undefined) said.push(`at least ${low}${what}`);
    else if (high !== undefined) said.push(`at most ${high}${what}`);
  };
  for (const part of [schema, ...union(schema)]) {
    say(part.minimum, part.maximum, "");
    if (part.exclusiveMinimum !== undefined) said.push(`more than ${part.exclusiveMinimum}`);
    say(part.minLength, part.maxLength, " characters");
    say(part.minItems, part.maxItems, " items");
  }
  return said.join(", ");
}

/** The objects that stand inside a schema and can be looked into, by name. */
export function insides(schema: Schema): readonly Schema[] {
  const inner = [schema, ...union(schema)];
  const parts = inner.flatMap((part) => [part, ...(part.items === undefined ? [] : [part.items, ...union(part.items)])]);
  const events = schema.properties?.["data"]?.contentSchema;
  return [...parts, ...(events === undefined ? [] : [events, ...union(events)])].filter((part) => part.$ref !== undefined);
}

/** Who may call, in words. */
export function callers(operation: Operation): string {
  if (operation.security.length === 0) return "Anyone";
  const said = operation.security.map((way) => {
    if ("session" in way) return "csrf" in way ? "session with CSRF token" : "session";
    if ("api_key" in way) return `API key with scope ${way["api_key"]?.join(", ") ?? ""}`;
    return "metrics_token" in way ? "token of the metrics" : "nothing, where the settings say so";
  });
  return said.join(", or ");
}

/** A command that calls the operation with an API key, or without where that is of no use. */
export function curl(entry: Entry, origin: string): string {
  const parts = [`curl ${entry.method === "GET" ? "" : `-X ${entry.method} `}'${origin}${entry.path}'`];
  const { security } = entry.operation;
  if (security.every((way) => Object.keys(way).length > 0) && security.some((way) => "api_key" in way)) parts.push(`-H "Authorization: Bearer $KEY"`);
  const media = Object.keys(entry.operation.requestBody?.content ?? {})[0];
  if (media !== undefined) parts.push(`-H 'Content-Type: ${media}'`, `-d '${media === "application/json" ? "{…}" : "…"}'`);
  return parts.join(" \\\n  ");
}
