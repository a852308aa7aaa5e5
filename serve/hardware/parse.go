package hardware

import (
	"path/filepath"
	"strings"
)

// Data is what a file says.
type Data struct {
	Machines []Machine // in the order of the file
	Notes    []string  // odd but usable: unknown columns, a gateway outside of the subnet
}

// Parse reads a hardware file of any of the formats: .csv is EKS Anywhere's,
// everything else is YAML or JSON, told apart by content. The error is a
// *Problems; no Data of a file with an error is meant to be used.
func Parse(file string, data []byte) (Data, error) {
	if strings.EqualFold(filepath.Ext(file), ".csv") {
		return ParseCSV(file, data)
	}
	return ParseYAML(file, data)
}

// ParseYAML reads Tinkerbell Hardware objects, Smee's old map, or our own
// format (see parseNative).
func ParseYAML(file string, data []byte) (Data, error) {
	r := &report{file: file}
	docs := parseYAML(r, data)
	if err := r.err(); err != nil {
		return Data{}, err
	}
	var machines []placed
	switch parse := detect(docs); {
	case len(docs) == 0:
		r.fail(place{}, "", "empty: no machines in it")
	case parse == nil:
		r.fail(docs[0].at, "", "neither a list of machines (machines:), nor Tinkerbell Hardware objects (kind: Hardware),"+
			" nor records by MAC address")
	default:
		machines = parse(r, docs)
		checkUnique(r, machines, fieldIP)
		if len(machines) == 0 && len(r.problems.List) == 0 {
			r.note(place{}, "", "no machines in it")
		}
	}
	return Data{Machines: stripPlaces(machines), Notes: r.notes}, r.err()
}

// detect tells the YAML formats apart by the first document's keys.
func detect(docs []*node) func(*report, []*node) []placed {
	if len(docs) == 0 {
		return nil
	}
	first := docs[0]
	if first.kind == list {
		if len(first.items) > 0 && first.items[0].get("spec") == nil && first.items[0].get("kind") == nil {
			return nil
		}
		return parseTinkerbell
	}
	if first.kind != object || len(first.entries) == 0 {
		return nil
	}
	for _, e := range first.entries {
		switch e.key {
		case "apiVersion", "kind", "spec":
			return parseTinkerbell
		case "machines", "defaults":
			return parseNative
		}
	}
	if _, err := NormalizeMAC(first.entries[0].key); err == nil {
		return parseSmee
	}
	return nil
}
