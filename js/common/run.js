/** Has the server run a part of the graph, and follows that one run to its end. */

const ENDS = { execution_success: "done", execution_error: "error", execution_interrupted: "stopped" }
const HEARD = ["execution_start", "execution_cached", "executing", "progress", "executed", ...Object.keys(ENDS)]

/** The reason of an abort that only stops to listen and lets the run go on. */
export const LEFT = "left"

/**
 * Run the graph as far as the nodes `targets`, all of it when that is null.
 * Resolves to the outputs of the nodes that ended, by id. Throws an Error with one sentence, or an AbortError.
 * @param {{api, flat, targets: string[]|null, first: boolean, told: (step) => void, signal: AbortSignal}} how
 *   `told` hears {kind: "queued"} and {kind: "running", node, part}; `first`: before what waits in the queue
 */
export async function runGraph({ api, flat, targets, first, told, signal }) {
  const listening = new AbortController()
  const heard = [] // a short run may be over before the server has told its id
  let take = event => heard.push(event)
  HEARD.forEach(name =>
    api.addEventListener(name, ({ detail }) => take({ name, detail }), { signal: listening.signal }),
  )
  let id = null
  const stop = () => id && signal.reason !== LEFT && stopRun(api, id)
  try {
    told({ kind: "queued" })
    id = (await queue(api, flat, targets, first)).prompt_id
    if (signal.aborted) stop()
    signal.addEventListener("abort", stop, { signal: listening.signal })
    return await new Promise((resolve, reject) => {
      const outputs = {}
      signal.addEventListener("abort", () => reject(aborted()), { signal: listening.signal })
      if (signal.aborted) reject(aborted())
      take = event => follow(event, { id, outputs, told, resolve, reject })
      heard.forEach(take)
    })
  } finally {
    listening.abort()
  }
}

function follow({ name, detail }, { id, outputs, told, resolve, reject }) {
  // `executing` brings the bare id of a node in some pages.
  if (detail && typeof detail === "object" && detail.prompt_id && detail.prompt_id !== id) return
  if (name === "executed") {
    outputs[String(detail.node)] = detail.output ?? {}
    told({ kind: "output", node: String(detail.node), output: detail.output ?? {} })
  }
  if (name === "executing" && detail) told({ kind: "running", node: String(detail.node ?? detail), part: null })
  if (name === "progress")
    told({ kind: "running", node: String(detail.node), part: detail.value / Math.max(detail.max, 1) })
  if (ENDS[name] === "done") resolve(outputs)
  if (ENDS[name] === "error") reject(new Error(sentence(detail.exception_message)))
  if (ENDS[name] === "stopped") reject(aborted())
}

async function queue(api, flat, targets, first) {
  try {
    return await api.queuePrompt(first ? -1 : 0, flat, targets ? { partialExecutionTargets: targets } : undefined)
  } catch (fault) {
    throw new Error(refusal(fault))
  }
}

/** Why the server doesn't take a graph, in one sentence. */
function refusal(fault) {
  const { error, node_errors: faults } = fault.response ?? {}
  const first = Object.values(faults ?? {})[0]
  const reason = first?.errors?.[0]
  if (reason) return sentence(`${first.class_type}: ${[reason.message, reason.details].filter(Boolean).join(": ")}`)
  return sentence(error?.message ?? (typeof error === "string" ? error : fault.message))
}

const sentence = text =>
  String(text ?? "")
    .trim()
    .split("\n")[0] || "?"

async function stopRun(api, id) {
  const post = (path, body) =>
    api.fetchApi(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) })
  await post("/queue", { delete: [id] })
  await post("/interrupt", { prompt_id: id })
}

const aborted = () => new DOMException("stopped", "AbortError")
