/** The pack's one entry into the page: gives Mark Object its button and keeps what nodes show for the editor. */

import { api } from "../../scripts/api.js"
import { app } from "../../scripts/app.js"
import { Shown, editNode, marksWidget } from "./mark/host.js"
import { loadTexts } from "./mark/texts.js"

const EDITED = "VividPromptEditor"
const WATCHED = [EDITED, "VividTrackMask"]

function addButton(page, node) {
  const marks = marksWidget(node)
  if (marks) hide(marks)
  const button = node.addWidget("button", page.text("button"), null, () => editNode(page, node), { serialize: false })
  button.serialize = false
  node.setSize?.([Math.max(node.size[0], 260), node.computeSize()[1]])
}

/** The marks are kept as a text in the workflow; nobody wants to read them on the node. */
function hide(widget) {
  widget.hidden = true
  widget.options.hidden = true // in place: the page may have taken the options over already
  widget.computeLayoutSize = undefined
  widget.computeSize = () => [0, -4] // the space between widgets
}

function watchResults(page, node) {
  const before = node.onExecuted
  node.onExecuted = function (output, ...rest) {
    page.shown.keep(node, output)
    return before?.call(this, output, ...rest)
  }
}

function addStyle() {
  const link = Object.assign(document.createElement("link"), { rel: "stylesheet" })
  link.href = new URL("./mark/mark.css", import.meta.url).href
  document.head.append(link)
}

const page = { app, api, shown: new Shown(), text: key => key }

app.registerExtension({
  name: "vivid.markObject",
  async init() {
    addStyle()
    page.text = await loadTexts(app, api)
  },
  nodeCreated(node) {
    if (node.comfyClass === EDITED) addButton(page, node)
    if (WATCHED.includes(node.comfyClass)) watchResults(page, node)
  },
})
