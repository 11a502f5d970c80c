// Starts GitHub and Apple as the JSON on the command line says, tells when they listen, and ends with its standard input.
import { createEmulator } from "emulate";

for (const options of JSON.parse(process.argv[2])) await createEmulator(options);
process.stdout.write("listening\n");
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
