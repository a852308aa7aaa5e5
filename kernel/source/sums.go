package source

import (
	"bufio"
	"bytes"
	"fmt"
	"strings"
)

// maxSums bounds sha256sums.asc; that of v6.x has 300 KB.
const maxSums = 16 << 20

// parseSums reads lines of sha256sum(1): 64 digits, two spaces, a name without
// folder. Lines of another form are an error, two different sums for one name
// too.
func parseSums(text []byte) (map[string]string, error) {
	sums := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimRight(lines.Text(), " \t\r")
		if line == "" {
			continue
		}
		sum, name, ok := strings.Cut(line, " ")
		name = strings.TrimPrefix(strings.TrimPrefix(name, " "), "*")
		if !ok || !validSHA256(sum) || name == "" || strings.ContainsAny(name, "/ ") {
			return nil, fmt.Errorf("line %d: %.100q is no line of sha256sum", n, line)
		}
		if old := sums[name]; old != "" && old != sum {
			return nil, fmt.Errorf("line %d: %s has two sums", n, name)
		}
		sums[name] = sum
	}
	return sums, lines.Err()
}

// newestOf is the highest release of a series that there is a tar of.
func newestOf(sums map[string]string, series string) (release, bool) {
	best, found := release{}, false
	for name := range sums {
		version, ok := strings.CutSuffix(strings.TrimPrefix(name, "linux-"), ".tar.xz")
		r, valid := parseRelease(version)
		if ok && valid && name == "linux-"+r.file()+".tar.xz" && r.series() == series && (!found || r.point > best.point) {
			best, found = r, true
		}
	}
	return best, found
}
