// A service in another language: it speaks to the HTTP service with Node's fetch alone.
//
//     node http_client.mjs BASE_URL ACCOUNT ROOM          with the token in STREAMSTOP_TOKEN
//
// It enqueues and waits, stops a room, follows the shutdown to its end, and prints a line of JSON for each step.

const [base, account, room] = process.argv.slice(2);
const authorization = `Bearer ${process.env.STREAMSTOP_TOKEN}`;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const say = (step, facts) => console.log(JSON.stringify({ step, ...facts }));

async function call(method, path, body, headers = {}) {
  const response = await fetch(base + path, {
    method,
    headers: { authorization, ...(body && { "content-type": "application/json" }), ...headers },
    body: body && JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${answer.type}: ${answer.detail}`);
  return { status: response.status, location: response.headers.get("location"), answer };
}

// An EventSource as browsers have it, with a token. It connects again until the server answers 204.
async function* eventSource(path) {
  let lastId, retry = 1000;
  for (;;) {
    try {
      const headers = { authorization, accept: "text/event-stream", ...(lastId && { "last-event-id": lastId }) };
      const response = await fetch(base + path, { headers });
      if (response.status === 204) return;
      if (response.status < 500 && response.status !== 200) throw new RangeError(`refused: ${response.status}`);
      say("connected", { status: response.status, lastId });
      let text = "";
      for await (const part of response.body.pipeThrough(new TextDecoderStream())) {
        const blocks = (text + part).split("\n\n");
        text = blocks.pop();
        for (const block of blocks) {
          const fields = Object.fromEntries(block.split("\n").map((line) => line.split(/: ?(.*)/s, 2)));
          if (fields.retry) retry = Number(fields.retry);
          if (fields.id) lastId = fields.id;
          if (fields.data) yield { type: fields.event ?? "message", id: fields.id, data: JSON.parse(fields.data) };
        }
      }
    } catch (error) {
      if (error instanceof RangeError) throw error;
    }
    await sleep(retry);
  }
}

const stop = (task) => ({ operation: "live.StopMPUTask", account, params: { AppId: "app", TaskId: task } });

// Enqueue, as if the first answer had been lost: the same key returns the same job.
const key = { "idempotency-key": `"${crypto.randomUUID()}"` };
const first = await call("POST", "/v1/jobs", stop("alone"), key);
const again = await call("POST", "/v1/jobs", stop("alone"), key);
say("enqueued", { ids: [first.answer.jobs[0].id, again.answer.jobs[0].id], location: first.location });
const job = await call("GET", `${first.location}?wait=60`);
say("job", { result: job.answer.outcome.result });

// Stop a room.
const path = `/v1/rooms/${encodeURIComponent(room)}`;
await call("PUT", `${path}/tasks`, [stop("relay-1"), stop("relay-2")]);
say("registered", {});
await new Promise((resolve) => process.stdin.once("data", resolve)); // until the test says so
const closing = await call("POST", `${path}/shutdown`, { commands: [stop("relay-3")] });
say("closing", { status: closing.status, location: closing.location });

// Follow it. At the end this client does not close the stream: it connects once more, and is told that it is over.
for await (const event of eventSource(`${closing.location}/events`)) {
  say("event", { type: event.type, id: event.id, status: event.data.status, ended: event.data.ended });
}
const { answer } = await call("GET", `${closing.location}/outcomes`);
say("over", { results: answer.outcomes.map((outcome) => outcome.result) });
process.exit(0);
