/** What the server has told of each board, by id; nodes that show the same board hear of it together. */

import { isId } from "./state.js"

const FOLDER = "vivid_boards"

/** Sends "change" with the board's id as `detail`. */
export class Boards extends EventTarget {
  constructor(api) {
    super()
    Object.assign(this, { api, known: new Map(), asked: new Map() })
  }

  /** {frames, width, height, candidates, ...}, or null while nothing is known. */
  of(id) {
    return this.known.get(id) ?? null
  }

  /** Keep what a node has told when it ran. */
  keep(board) {
    if (!isId(board?.id) || !Array.isArray(board.candidates)) return
    this.known.set(board.id, board)
    this.changed(board.id)
  }

  /** Ask the server what the board's folder holds. A server that can't answer leaves what is known as it is. */
  load(id) {
    if (!isId(id)) return Promise.resolve()
    const under = this.asked.get(id)
    if (under) {
      under.again = true // its answer may tell of the folder as it was before this call
      return under.done
    }
    const asking = {}
    this.asked.set(id, asking)
    asking.done = this.ask(id, asking)
    return asking.done
  }

  async ask(id, asking) {
    do {
      asking.again = false
      const before = this.of(id)
      const answer = await this.api.fetchApi(`/vivid/boards/${id}`, { cache: "no-store" }).catch(() => null)
      const board = answer?.ok ? await answer.json().catch(() => null) : null
      // What a run or a deletion has told since then is newer than this answer may be.
      if (this.of(id) !== before) asking.again = true
      else if (!asking.again && Array.isArray(board?.candidates)) this.keep({ ...board, id })
    } while (asking.again)
    this.asked.delete(id)
  }

  /** Delete a candidate's file. Throws an Error with one sentence. */
  async remove(id, name) {
    const path = `/vivid/boards/${id}/${encodeURIComponent(name)}`
    const answer = await this.api.fetchApi(path, { method: "DELETE" })
    const told = await answer.json().catch(() => null)
    if (!answer.ok && answer.status !== 404) throw new Error(told?.error ?? `${answer.status} ${answer.statusText}`)
    if (!answer.ok && !told?.error) throw new Error(`${answer.status} ${answer.statusText}`) // the server lacks the route
    const board = this.of(id)
    if (board) this.keep({ ...board, candidates: board.candidates.filter(other => other.name !== name) })
  }

  /** Where the page finds a file of a board. */
  urlOf(id, name) {
    return this.api.apiURL(
      `/view?${new URLSearchParams({ filename: name, subfolder: `${FOLDER}/${id}`, type: "output" })}`,
    )
  }

  changed(id) {
    this.dispatchEvent(new CustomEvent("change", { detail: id }))
  }
}
