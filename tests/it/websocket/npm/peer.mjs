// A WebSocket server and a client on npm's ws, for tests/it/websocket. The first argument is the directory that has the
// packages; the second says what to be. What is found out goes to standard output, a line of JSON each.

import { createRequire } from "node:module";

const [, , packages, role, url] = process.argv;
const { WebSocket, WebSocketServer } = createRequire(`${packages}/package.json`)("ws");
const tell = (what) => console.log(JSON.stringify(what));

// Whoever started this is gone when its end of the pipe is.
process.stdin.resume().on("end", () => process.exit(0));

if (role === "server") {
  const server = new WebSocketServer({
    host: "127.0.0.1",
    port: 0,
    perMessageDeflate: { threshold: 0 },
    handleProtocols: (offered) => (offered.has("echo") ? "echo" : false),
    verifyClient: ({ req }) => req.headers["x-api-key"] === "s3cret",
  });
  server.on("listening", () => tell({ port: server.address().port }));
  server.on("connection", (socket, request) => {
    socket.on("message", (data, binary) => {
      if (data.toString() === "close, please") {
        socket.close(4001, "as you wish");
      } else {
        socket.send(data, { binary });
      }
    });
    socket.on("error", (error) => tell({ error: error.message }));
    socket.on("close", (code, reason) => tell({ path: request.url, code, reason: reason.toString() }));
  });
} else {
  const open = (path, protocols, options) =>
    new WebSocket(`${url}${path}`, protocols, { headers: { Host: "api" }, ...options }).setMaxListeners(0);
  const once = (socket, event) =>
    new Promise((resolve, reject) => {
      socket.once(event, (...found) => resolve(found));
      socket.once("error", reject);
    });
  for (const perMessageDeflate of [false, { threshold: 0 }]) {
    const socket = open("/echo", ["echo", "other"], { perMessageDeflate });
    await once(socket, "open");
    const sizes = [0, 1, 125, 126, 65535, 65536, 3_000_000];
    for (const size of sizes) {
      for (const binary of [false, true]) {
        const sent = Buffer.alloc(size, "tide");
        socket.send(sent, { binary });
        const [got, asBinary] = await once(socket, "message");
        if (!sent.equals(got) || asBinary !== binary) throw new Error(`${size} ${binary}`);
      }
    }
    socket.send("frag", { fin: false });
    socket.send("mented", { fin: true });
    const [joined] = await once(socket, "message");
    socket.ping("there?");
    const [pong] = await once(socket, "pong");
    socket.close(1000, "done");
    const [code, reason] = await once(socket, "close");
    tell({
      protocol: socket.protocol,
      extensions: socket.extensions,
      joined: joined.toString(),
      pong: pong.toString(),
      code,
      reason: reason.toString(),
    });
  }
  const asked = open("/asked");
  await once(asked, "open");
  asked.send("close, please");
  const [code, reason] = await once(asked, "close");
  tell({ code, reason: reason.toString() });
  process.exit(0);
}
