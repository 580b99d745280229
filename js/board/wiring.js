/** Adds the nodes of a preview to the graph, in free space right of the board, wired to what the board has. */

import { remembered } from "../common/widgets.js"

const GAP = 60
const SIZE = [860, 560] // room for both nodes beside each other, with what they show when they have run
const SUBGRAPH_INPUT = -10 // the id of the place where links come into a subgraph

/** Preview Propagation and Compare for a board. Throws an Error with one sentence when no mask is found for them. */
export function addPreview(app, board, text) {
  const mask = maskBefore(board)
  if (!mask) throw new Error(text("noMask"))
  const place = freePlace(board)
  const preview = make(board.graph, "VividPreviewPropagation", place)
  join(sourceOf(board, "frames"), preview, "frames")
  join(mask, preview, "mask")
  board.connect(0, preview, slotOf(preview, "keyframes"))
  compare(app, board, preview, [place[0] + preview.size[0] + GAP, place[1]])
}

/** A Compare for a preview that nothing shows yet. */
export function addCompare(app, board, preview) {
  compare(app, board, preview, freePlace(board))
}

function compare(app, board, preview, place) {
  const shown = make(board.graph, "VividCompare", place)
  join(sourceOf(board, "frames"), shown, "original")
  preview.connect(0, shown, slotOf(shown, "edited"))
  board.graph.setDirtyCanvas(true, true)
  remembered(app)
}

function make(graph, type, pos) {
  const node = window.LiteGraph.createNode(type)
  node.pos = pos
  graph.add(node)
  return node
}

const slotOf = (node, name) => node.inputs.findIndex(input => input.name === name)

/** Where an input's link comes from: {graph, id, slot}, or null. */
function sourceOf(node, name) {
  const input = node.inputs?.[slotOf(node, name)]
  const { graph } = node
  const link = input?.link && (graph.getLink?.(input.link) ?? graph.links.get?.(input.link) ?? graph.links[input.link])
  return link ? { graph, id: link.origin_id, slot: link.origin_slot } : null
}

const nodeOf = ({ graph, id }) => graph.getNodeById(id)

function join(source, node, name) {
  const slot = slotOf(node, name)
  if (Number(source.id) === SUBGRAPH_INPUT) source.graph.inputs[source.slot].connect(node.inputs[slot], node)
  else nodeOf(source).connect(source.slot, node, slot)
}

/** Where the nearest mask comes from that led to the board's tries: {graph, id, slot}, or null. */
function maskBefore(board) {
  const waiting = ["keyframe", "candidate"].map(name => sourceOf(board, name)).filter(Boolean)
  const seen = new Set()
  while (waiting.length) {
    const node = nodeOf(waiting.shift())
    if (!node || seen.has(node)) continue
    seen.add(node)
    const inputs = (node.inputs ?? []).map(({ name, type }) => ({ type, source: sourceOf(node, name) }))
    const mask = inputs.find(({ type, source }) => type === "MASK" && source)
    if (mask) return mask.source
    waiting.push(...inputs.map(({ source }) => source).filter(Boolean))
  }
  return null
}

function freePlace(board) {
  const x = board.pos[0] + board.size[0] + GAP
  let y = board.pos[1]
  const inTheWay = ({ pos, size }) =>
    pos[0] < x + SIZE[0] && x < pos[0] + size[0] && pos[1] - GAP < y + SIZE[1] && y < pos[1] + size[1] + GAP
  for (;;) {
    const others = board.graph.nodes.filter(node => node !== board && inTheWay(node))
    if (!others.length) return [x, y]
    y = Math.max(...others.map(({ pos, size }) => pos[1] + size[1])) + 2 * GAP
  }
}
