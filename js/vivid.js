/** The pack's one entry into the page: Mark Object's editor and the gallery of Keyframe Board. */

import { api } from "../../scripts/api.js"
import { app } from "../../scripts/app.js"
import { addBoard } from "./board/board.js"
import { Boards } from "./board/boards.js"
import { loadTexts } from "./common/texts.js"
import { hide } from "./common/widgets.js"
import { Shown, editNode, marksWidget } from "./mark/host.js"

const EDITED = "VividPromptEditor"
const WATCHED = [EDITED, "VividTrackMask"]
const BOARD = "VividKeyframeBoard"

function addButton(page, node) {
  const marks = marksWidget(node)
  if (marks) hide(marks)
  const button = node.addWidget("button", page.text("button"), null, () => editNode(page, node), { serialize: false })
  button.serialize = false
  node.setSize?.([Math.max(node.size[0], 260), node.computeSize()[1]])
}

function watchResults(page, node) {
  const before = node.onExecuted
  node.onExecuted = function (output, ...rest) {
    page.shown.keep(node, output)
    return before?.call(this, output, ...rest)
  }
}

function addStyle(path) {
  const link = Object.assign(document.createElement("link"), { rel: "stylesheet" })
  link.href = new URL(path, import.meta.url).href
  document.head.append(link)
}

const marking = { app, api, shown: new Shown(), text: key => key }
const boarding = { app, api, boards: new Boards(api), open: new WeakMap(), text: key => key }

app.registerExtension({
  name: "vivid.markObject",
  async init() {
    addStyle("./mark/mark.css")
    addStyle("./board/board.css")
    const texts = await loadTexts(app, api)
    Object.assign(marking, { text: texts("mark") })
    Object.assign(boarding, { text: texts("board") })
  },
  nodeCreated(node) {
    if (node.comfyClass === EDITED) addButton(marking, node)
    if (WATCHED.includes(node.comfyClass)) watchResults(marking, node)
    if (node.comfyClass === BOARD) addBoard(boarding, node)
  },
})
