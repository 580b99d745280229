/** One click from a try to the whole clip: carried on by optical flow, without a model. */

import { flatGraph, idsOf, nodeAt, takersOf } from "../common/graph.js"
import { runGraph } from "../common/run.js"
import { addCompare, addPreview } from "./wiring.js"

const PREVIEW = "VividPreviewPropagation"
const FILM = /\.(mp4|webm)$/

/**
 * Run the preview with `state` as the board's state; neither the node's own state nor what hangs on it changes.
 * Resolves to {titles, film}: the nodes that show it, and its film's address or null. Throws an Error with one
 * sentence, or an AbortError.
 */
export async function preview(page, node, state, told, signal) {
  const { app, api, text } = page
  if (!node.inputs?.find(input => input.name === "frames")?.link) throw new Error(text("noFrames"))
  const plan = await planned(app, node, text)
  const ids = plan.ends
  const named = step => told({ ...step, name: step.node && nodeAt(app, step.node)?.title })
  withBoard(plan, state)
  const outputs = await runGraph({ api, flat: plan.flat, targets: ids, first: true, told: named, signal })
  const titles = ids.map(id => nodeAt(app, id)?.title).filter(Boolean)
  const files = ids.flatMap(id => Object.values(outputs[id] ?? {})).flat()
  const film = files.find(file => FILM.test(file?.filename))
  return { titles, film: film ? api.apiURL(`/view?${new URLSearchParams(film)}`) : null }
}

/** The graph with a preview of this board in it, added where there is none: {flat, id, takers, ends}. */
async function planned(app, node, text) {
  let found = await look(app, node, text)
  if (!found.takers.length) addPreview(app, node, text)
  else if (!found.ends.length) addCompare(app, node, nodeAt(app, found.takers[0]))
  else return found
  found = await look(app, node, text)
  if (!found.ends.length) throw new Error(text("noPreview"))
  return found
}

async function look(app, node, text) {
  const flat = await flatGraph(app)
  const ids = idsOf(app, flat, node)
  if (!ids.length) throw new Error(text("muted"))
  const takers = takersOf(flat, ids, PREVIEW, "keyframes").filter(id => flat.output[id].inputs.mode !== "remove")
  const id = takers.length ? String(flat.output[takers[0]].inputs.keyframes[0]) : ids[0]
  return { flat, id, takers, ends: endsOf(app, flat, ids, takers) }
}

/** The nodes that show what these takers make, and need nothing else of the board: that may be a long run. */
function endsOf(app, flat, ids, takers) {
  const shows = id => nodeAt(app, id)?.constructor.nodeData?.output_node
  const reaches = (id, wanted, around = []) => {
    const [seen, waiting] = [new Set(), [id]]
    while (waiting.length) {
      const at = waiting.pop()
      if (seen.has(at) || around.includes(at) || !flat.output[at]) continue
      if (wanted.includes(at)) return true
      seen.add(at)
      const links = Object.values(flat.output[at].inputs).filter(Array.isArray)
      waiting.push(...links.map(link => String(link[0])))
    }
    return false
  }
  return Object.keys(flat.output).filter(id => shows(id) && reaches(id, takers) && !reaches(id, ids, takers))
}

/**
 * A board with this state beside the real one, for the preview alone: what the real one feeds stays in the server's
 * cache, and no new try is made for a look at an old one.
 */
function withBoard({ flat, id, takers }, state) {
  const real = flat.output[id]
  const values = Object.entries(real.inputs).filter(([name, value]) => name === "frames" || !Array.isArray(value))
  const beside = `${id}_preview`
  flat.output[beside] = { ...real, inputs: { ...Object.fromEntries(values), board: state, hold: false } }
  for (const taker of takers) flat.output[taker].inputs.keyframes = [beside, 0]
}
