package drivers

import (
	"fmt"
	"io"
	"path"
	"strings"
)

// ReadModaliases reads modaliases, one in a line: the contents of the modalias
// files below /sys, what `grep -r . --include modalias /sys` prints
// ("path:modalias"), or MODALIAS= lines of uevent files, whose other lines are
// passed over. Empty lines and those that begin with '#' are too, and with a
// warning the messages of the programs that made the listing. A device that is
// listed several times, as /sys has it, counts once.
func ReadModaliases(file string, r io.Reader) (*Listing, error) {
	l := listing{file: file}
	seen := map[string]bool{}
	err := lines(file, r, func(where, line string) error {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || l.isMessage(where, line) {
			return nil
		}
		slot, modalias, err := splitModalias(where, line)
		if err != nil || modalias == "" {
			return err
		}
		d, err := ParseModalias(where, modalias)
		if err != nil {
			return err
		}
		d.Slot = slot
		if key := slot + " " + d.Modalias; slot == "" || !seen[key] {
			seen[key] = true
			return l.add(d)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return l.end(file + ": there is no modalias in it: make it by  find /sys -name modalias -exec cat {} +")
}

// splitModalias takes a path before the modalias off; modalias is "" for a
// line of a uevent file that is about something else.
func splitModalias(where, line string) (slot, modalias string, err error) {
	for _, name := range []string{"/modalias:", "/uevent:"} {
		if i := strings.Index(line, name); i >= 0 {
			slot, line = path.Base(line[:i]), strings.TrimSpace(line[i+len(name):])
			break
		}
	}
	if value, ok := strings.CutPrefix(line, "MODALIAS="); ok {
		return slot, value, nil
	}
	if key, _, ok := strings.Cut(line, "="); ok && key == strings.ToUpper(key) && !strings.Contains(key, ":") {
		return slot, "", nil
	}
	if strings.HasPrefix(line, "/") || strings.HasPrefix(line, "./") {
		return "", "", fmt.Errorf("%s: %.80q is the path of a file, what it says is wanted: find /sys -name modalias -exec grep -H . {} +", where, line)
	}
	return slot, line, nil
}
