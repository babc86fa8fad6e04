// A GraphQL server on graphql-yoga, and clients on graphql-request and graphql-sse, for tests/it/worker_graphql. The first
// argument is the directory that has the packages; the second says what to be. What is found out goes to standard output, a
// line of JSON each.

import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { createRequire } from "node:module";

const [, , packages, role, url] = process.argv;
const require = createRequire(`${packages}/package.json`);
const tell = (what) => console.log(JSON.stringify(what));

// Whoever started this is gone when its end of the pipe is.
process.stdin.resume().on("end", () => process.exit(0));

if (role === "server") {
  const { createSchema, createYoga } = require("graphql-yoga");
  const { useAPQ } = require("@graphql-yoga/plugin-apq");
  let count = 0;
  const schema = createSchema({
    typeDefs: `
      type Query { hello(name: String = "you"): String! count: Int! broken: String me: Person }
      type Person { name: String! friend: Person }
      type Mutation { add(by: Int!): Int! }
      type Subscription { ticks(to: Int!): Int! }
    `,
    resolvers: {
      Query: {
        hello: (_, { name }) => `hello, ${name}`,
        count: () => count,
        broken: () => {
          throw new Error("broken");
        },
        me: () => ({ name: "me" }),
      },
      Person: { friend: ({ name }) => ({ name: `${name}'s friend` }) },
      Mutation: { add: (_, { by }) => (count += by) },
      Subscription: {
        ticks: {
          subscribe: async function* (_, { to }) {
            for (let tick = 1; tick <= to; tick += 1) yield { ticks: tick };
          },
        },
      },
    },
  });
  const yoga = createYoga({ schema, plugins: [useAPQ()], batching: true, logging: false });
  const lost = new Set();
  const server = createServer((request, response) => {
    if (request.headers["x-api-key"] !== "s3cret") {
      response.writeHead(401).end();
      return;
    }
    // The answer to the first request that says so is lost after it was acted upon.
    const lose = request.headers["x-lose"];
    if (lose && !lost.has(lose)) {
      lost.add(lose);
      response.write = () => true;
      response.end = () => request.socket.destroy();
    }
    yoga(request, response);
  });
  server.listen(0, "127.0.0.1", () => tell({ port: server.address().port }));
} else {
  const { GraphQLClient } = require("graphql-request");
  const { createClient } = require("graphql-sse");
  const post = new GraphQLClient(`${url}/graphql`);
  const failed = async (promise) => {
    try {
      return { data: await promise };
    } catch (error) {
      const { status, headers, body } = error.response;
      return { status, problem: headers.get("tidegate-error"), detail: body && JSON.parse(body).detail };
    }
  };

  // A query whose answer is lost is asked again, and a mutation is not.
  const hello = await post.rawRequest("query ($n: String) { hello(name: $n) }", { n: "there" }, { "X-Lose": "query" });
  tell({ data: hello.data, attempts: hello.headers.get("tidegate-attempts") });
  tell(await failed(post.request("mutation { add(by: 1) }", {}, { "X-Lose": "mutation" })));
  tell(await post.request("{ count }"));
  tell(await post.request("mutation { add(by: 2) }"));

  const send = async (what) => {
    const sent = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(what) };
    const { data, errors } = await (await fetch(`${url}/graphql`, sent)).json();
    return data ?? errors[0].extensions.code;
  };
  tell(await send({ query: "query A { hello } mutation B { add(by: 1) }", operationName: "A" }));
  const get = new GraphQLClient(`${url}/graphql`, { method: "GET", jsonSerializer: JSON });
  tell(await get.request("query ($n: String) { hello(name: $n) }", { n: "GET" }, { "X-Lose": "get" }));
  const batch = await post.batchRequests([{ document: "{ hello }" }, { document: "{ me { friend { name } } }" }]);
  tell(batch.map(({ data }) => data));

  // Automatic persisted queries: the hash alone, then both, then the hash again.
  const query = "{ me { name } }";
  const persistedQuery = { version: 1, sha256Hash: createHash("sha256").update(query).digest("hex") };
  const extensions = { persistedQuery };
  tell([await send({ extensions }), await send({ extensions, query }), await send({ extensions })]);

  const ticks = [];
  const client = createClient({ url: `${url}/graphql` });
  for await (const { data } of client.iterate({ query: "subscription { ticks(to: 3) }" })) ticks.push(data.ticks);
  tell(ticks);

  tell(await failed(post.request("query Deep { me { friend { friend { friend { name } } } } }")));
  process.exit(0);
}
