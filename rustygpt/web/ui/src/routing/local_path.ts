// Where to go after signing in. The server has looked at it already; an address bar can be typed into, so it is looked at again.

const LOCAL = /^\/(?:[^/\\.\u0000-\u0020\u007f-\u00a0\u2028\u2029\ufeff][^\\\u0000-\u0020\u007f-\u00a0\u2028\u2029\ufeff]*)?$/;

/** `text` if it is a path of this site, else `/`. */
export function localPath(text: string | null): string {
  return text !== null && text.length <= 2_000 && LOCAL.test(text) ? text : "/";
}
