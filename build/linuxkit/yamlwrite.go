package linuxkit

import (
	"encoding/json"
	"strings"
)

// writeYAML writes a document in block style. Every string is in double
// quotes, whose escapes YAML shares with JSON: so no string can be taken for
// anything else, whatever it holds.
func writeYAML(n *node) []byte {
	var b strings.Builder
	writeNode(&b, n, 0)
	return []byte(b.String())
}

// writeNode writes a node that begins on a line of its own, indented.
func writeNode(b *strings.Builder, n *node, indent int) {
	for _, item := range n.items {
		b.WriteString(strings.Repeat(" ", indent) + "-")
		writeValue(b, item, indent+2)
	}
	for _, e := range n.entries {
		b.WriteString(strings.Repeat(" ", indent) + yamlKey(e.key) + ":")
		writeValue(b, e.value, indent+2)
	}
	if n.kind != list && n.kind != object {
		b.WriteString(scalarYAML(n) + "\n")
	}
}

// writeValue writes a node after its key or dash: scalars on the same line.
func writeValue(b *strings.Builder, n *node, indent int) {
	if len(n.items) == 0 && len(n.entries) == 0 {
		b.WriteString(" " + scalarYAML(n) + "\n")
		return
	}
	b.WriteString("\n")
	writeNode(b, n, indent)
}

// scalarYAML writes a scalar or an empty collection, which JSON writes as
// YAML does.
func scalarYAML(n *node) string {
	data, err := n.MarshalJSON()
	if err != nil {
		return "null" // an infinite number: no key takes one
	}
	return string(data)
}

func yamlKey(key string) string {
	if strings.Trim(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.") == "" && key != "" {
		switch strings.ToLower(key) {
		case "null", "true", "false", "yes", "no", "on", "off", "y", "n":
		default:
			if strings.Trim(key, ".") != "" && !strings.HasPrefix(key, ".") {
				return key
			}
		}
	}
	quoted, _ := json.Marshal(key)
	return string(quoted)
}
