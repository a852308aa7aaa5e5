package initd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// sysctl is a line of sysctl.d(5).
type sysctl struct {
	key, value string
	optional   bool // "-key = value": no complaint when it fails
}

// parseSysctls reads "key = value" lines; # and ; begin comments.
func parseSysctls(text string) []sysctl {
	var all []sysctl
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		key, value, ok := strings.Cut(line, "=")
		if !ok || line[0] == '#' || line[0] == ';' {
			continue
		}
		s := sysctl{key: strings.TrimSpace(key), value: strings.TrimSpace(value)}
		s.key, s.optional = strings.CutPrefix(s.key, "-")
		all = append(all, s)
	}
	return all
}

// path is the file of a key. As in sysctl(8) the first separator decides: in net.ipv4.x dots separate, in
// net/ipv4/eth0.1/x slashes do, and the other one is part of a name.
func (s sysctl) path(root string) string {
	key := s.key
	if at := strings.IndexAny(key, "./"); at >= 0 && key[at] == '.' {
		key = strings.NewReplacer(".", "/", "/", ".").Replace(key)
	}
	return filepath.Join(root, filepath.Clean("/"+key))
}

func (s sysctl) set(root string) error {
	if err := os.WriteFile(s.path(root), []byte(s.value+"\n"), 0); err != nil {
		return fmt.Errorf("setting %s: %w", s.key, err)
	}
	return nil
}
