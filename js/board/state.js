/**
 * What a board keeps in its workflow: its id, the picked file of each frame, the pinned files. A plain document that is
 * never changed in place: every choice gives a new one.
 *
 * Keys that this version does not know are kept. nodes/board.py reads the same text.
 */

const VERSION = 1
const ID = /^[0-9a-f]{16}$/
const FRAME = /^(0|[1-9]\d{0,5})$/
const NAME = /^f\d{6}_[0-9a-f]{16}\.png$/

export const emptyState = () => ({ version: VERSION, id: "", picks: {}, pins: [] })

/** The document in a text; an empty text is a new board. Throws an Error whose `reason` is a key of the texts. */
export function parse(text) {
  if (!text?.trim()) return emptyState()
  let content
  try {
    content = JSON.parse(text)
  } catch {
    throw unreadable("unreadable")
  }
  if (content === null) return emptyState()
  if (content.version !== VERSION) throw unreadable(content.version ? "otherVersion" : "unreadable")
  const state = { ...content, id: content.id ?? null, picks: content.picks || {}, pins: content.pins || [] }
  if (!isState(state)) throw unreadable("unreadable")
  return { ...state, id: state.id ?? "" }
}

/** The text of a document: empty while it has no id, since without one there is nothing to choose from. */
export const serialise = state => (state.id ? JSON.stringify(state) : "")

/** The text that a run gets: a pin says what to keep on the board, and nothing that follows runs again for it. */
export const forRun = state => serialise({ ...state, pins: [] })

export const pickOf = (state, frame) => state.picks[String(frame)] ?? null

export const isPicked = (state, name) => Object.values(state.picks).includes(name)

export const isPinned = (state, name) => state.pins.includes(name)

/** With this file as the pick of its frame; with null: without a pick there. */
export function withPick(state, frame, name) {
  const { [String(frame)]: _, ...others } = state.picks
  return { ...state, picks: name ? { ...others, [String(frame)]: name } : others }
}

export const withPin = (state, name, pinned) => ({
  ...state,
  pins: [...state.pins.filter(other => other !== name), ...(pinned ? [name] : [])],
})

/** Without a file that is deleted: neither picked nor pinned. */
export function without(state, name) {
  const picks = Object.fromEntries(Object.entries(state.picks).filter(([, picked]) => picked !== name))
  return withPin({ ...state, picks }, name, false)
}

export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(8))
  return [...bytes].map(byte => byte.toString(16).padStart(2, "0")).join("")
}

export const isId = id => typeof id === "string" && ID.test(id)

function isState({ id, picks, pins }) {
  const plain = picks && typeof picks === "object" && !Array.isArray(picks)
  if (!plain || !Array.isArray(pins) || (id !== null && !isId(id))) return false
  const belongs = ([frame, name]) => FRAME.test(frame) && isName(name) && Number(name.slice(1, 7)) === Number(frame)
  return Object.entries(picks).every(belongs) && pins.every(isName)
}

const isName = name => typeof name === "string" && NAME.test(name)

const unreadable = reason => Object.assign(new Error(reason), { reason })
