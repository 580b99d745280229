/** A board's id is no step that undo could take back: without it the tries would seem to be gone. */

/** Have the page's undo remember a node with `text` in an empty widget, as if it had always been so. */
export function inHistory(app, node, widget, text) {
  const tracker = app.extensionManager?.workflow?.activeWorkflow?.changeTracker
  const at = node.widgets.indexOf(widget)
  for (const workflow of [...(tracker?.undoQueue ?? []), tracker?.activeState]) {
    const graphs = [workflow, ...(workflow?.definitions?.subgraphs ?? [])]
    const nodes = graphs.flatMap(graph => graph?.nodes ?? [])
    for (const { id, type, widgets_values: values } of nodes)
      if (type === node.type && String(id) === String(node.id) && Array.isArray(values) && values[at] === "")
        values[at] = text
  }
}
