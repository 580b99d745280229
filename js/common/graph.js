/** Finds its way in the page's graph: the ids that the server knows nodes by, in subgraphs too, and who is linked. */

/** The graph in the form the server takes: {output: {id: {class_type, inputs}}, workflow}. */
export const flatGraph = app => app.graphToPrompt()

/** The node that the server calls "12:5": node 5 in the subgraph that node 12 stands for; null when it is gone. */
export function nodeAt(app, id) {
  let graph = app.rootGraph ?? app.graph
  const path = String(id).split(":")
  for (const step of path.slice(0, -1)) graph = nodeOf(graph, step)?.subgraph
  return nodeOf(graph, path[path.length - 1])
}

/** The ids of a node in the flat graph: one for each place where its subgraph is used, none when it is muted. */
export const idsOf = (app, flat, node) => Object.keys(flat.output).filter(id => nodeAt(app, id) === node)

/** The ids of the nodes of a type that take their `input` from one of these ids. */
export function takersOf(flat, ids, type, input) {
  return Object.keys(flat.output).filter(id => {
    const { class_type, inputs } = flat.output[id]
    return class_type === type && Array.isArray(inputs[input]) && ids.includes(String(inputs[input][0]))
  })
}

/** Everything that a node's input depends on, as a text: the same text means the same result. */
export function signature(flat, id, input) {
  const source = flat.output[id]?.inputs[input]
  if (!Array.isArray(source)) return null
  const [known, waiting] = [{}, [String(source[0])]]
  while (waiting.length) {
    const at = waiting.pop()
    if (at in known || !flat.output[at]) continue
    const { class_type, inputs } = flat.output[at]
    // A page adds an empty input for a preview once that is drawn: it says nothing about the result.
    known[at] = [class_type, Object.entries(inputs).filter(([, value]) => value !== "")]
    waiting.push(
      ...Object.values(inputs)
        .filter(Array.isArray)
        .map(link => String(link[0])),
    )
  }
  return JSON.stringify([source, Object.entries(known).sort(([a], [b]) => (a < b ? -1 : 1))])
}

// Ids are numbers in older pages and texts in newer ones.
const nodeOf = (graph, id) => graph?.nodes.find(node => String(node.id) === String(id)) ?? null
