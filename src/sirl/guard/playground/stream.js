// Requests to this server. The key goes into a header and nowhere else.

/** The reply to a request, or an Error with the server's sentence and its status. */
async function fetched(path, key, body, signal) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const options = { headers, signal, cache: "no-store", credentials: "omit", redirect: "error" };
  if (body) {
    headers["Content-Type"] = "application/json";
    Object.assign(options, { method: "POST", body: JSON.stringify(body) });
  }
  let reply;
  try {
    reply = await fetch(path, options);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Error("The server does not answer: is it still running?");
  }
  if (reply.ok) return reply;
  const found = await reply.json().catch(() => ({}));
  const error = new Error(found.error?.message ?? `The server answered with status ${reply.status}.`);
  error.status = reply.status;
  throw error;
}

/** A document of the server. */
export async function read(path, key, body) {
  return (await fetched(path, key, body)).json();
}

/** The documents of an answer as they come. */
export async function* streamed(path, key, body, signal) {
  const reply = await fetched(path, key, body, signal);
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error("The connection ended before the answer did.");
    const blocks = (waiting + value).split("\n\n");
    waiting = blocks.pop();
    for (const block of blocks) {
      if (block === "data: [DONE]") return;
      if (!block.startsWith("data: ")) continue;
      const found = JSON.parse(block.slice("data: ".length));
      if (found.error) throw new Error(found.error.message);
      yield found;
    }
  }
}
