package modules

import (
	"sort"
	"strings"

	"hooksmith/guest/modalias"
)

// matchAliases finds the modules for each of the queries in texts of the form of modules.alias ("alias PATTERN MODULE"
// lines). The result has an entry per query, with the modules in the order of the texts.
//
// The full Debian kernel has 27,000 patterns and a machine a few hundred devices, so the text is read once per batch,
// without building an index: the literal front of a pattern selects by binary search the few queries worth matching.
func matchAliases(queries []string, texts ...string) [][]string {
	found := make([][]string, len(queries))
	sorted := make([]query, 0, len(queries))
	for i, q := range queries {
		if text, ok := modalias.Normal(q); ok {
			sorted = append(sorted, query{text, i})
		}
	}
	sort.Slice(sorted, func(i, j int) bool { return sorted[i].text < sorted[j].text })

	for _, text := range texts {
		for line := range strings.Lines(text) {
			pattern, module, ok := cutAlias(line)
			if !ok {
				continue
			}
			for _, q := range matching(sorted, pattern) {
				found[q.index] = append(found[q.index], module)
			}
		}
	}
	return found
}

// matching are those of the sorted queries that a pattern matches.
func matching(sorted []query, pattern string) []query {
	pattern, ok := modalias.Normal(pattern)
	if !ok {
		return nil
	}
	front, rest := literalFront(pattern)
	at := sort.Search(len(sorted), func(i int) bool { return sorted[i].text >= front })
	var found []query
	for ; at < len(sorted) && strings.HasPrefix(sorted[at].text, front); at++ {
		if modalias.Match(rest, sorted[at].text[len(front):]) {
			found = append(found, sorted[at])
		}
	}
	return found
}

type query struct {
	text  string
	index int
}

// cutAlias takes a line of modules.alias apart. Neither part holds spaces: the module is the last word.
func cutAlias(line string) (pattern, module string, ok bool) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(line), "alias ")
	if !ok {
		return "", "", false
	}
	rest = strings.TrimLeft(rest, " ")
	space := strings.LastIndexByte(rest, ' ')
	if space <= 0 {
		return "", "", false
	}
	return strings.TrimRight(rest[:space], " "), modalias.ModuleName(rest[space+1:]), true
}

// literalFront splits a pattern before its first wildcard.
func literalFront(pattern string) (front, rest string) {
	end := strings.IndexAny(pattern, modalias.Wildcards)
	if end < 0 {
		end = len(pattern)
	}
	return pattern[:end], pattern[end:]
}
