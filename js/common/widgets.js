/** What a node keeps in a widget that nobody wants to read on it. */

/** Take a widget off the node's face; it stays a part of the workflow. */
export function hide(widget) {
  widget.hidden = true
  widget.options.hidden = true // in place: the page may have taken the options over already
  widget.computeLayoutSize = undefined
  widget.computeSize = () => [0, -4] // the space between widgets
}

/** Put a text into a widget, as a user's typing would. */
export function write(app, node, widget, text) {
  widget.value = text
  widget.callback?.(text)
  node.graph?.setDirtyCanvas(true, true)
  remembered(app)
}

/** Let the page's own undo know what has changed. */
export function remembered(app) {
  const tracker = app.extensionManager?.workflow?.activeWorkflow?.changeTracker
  if (tracker?.captureCanvasState) tracker.captureCanvasState()
  else tracker?.checkState?.()
}
