// Reads a stream by npm's `eventsource` until the reply is done; one line of JSON for each event: [id, type, data].
import { EventSource } from "eventsource";

const [url, cookie, types] = process.argv.slice(2);
const source = new EventSource(url, {
  fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, Cookie: cookie } }),
});
for (const type of types.split(",")) {
  source.addEventListener(type, (event) => {
    if (event.data === undefined) return; // the client's own "error"
    console.log(JSON.stringify([event.lastEventId, type, event.data]));
    if (type === "message.done") source.close();
  });
}
