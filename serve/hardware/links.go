package hardware

import (
	"os"
	"path/filepath"
	"strings"
)

// followOne resolves the first symbolic link in path, also in the middle of
// it: hardware.csv -> ..data/hardware.csv, where ..data is a link itself.
func followOne(path string) (string, bool) {
	rest := strings.Split(filepath.Clean(path), string(filepath.Separator))
	done := ""
	if filepath.IsAbs(path) {
		done = string(filepath.Separator)
	}
	for i, name := range rest {
		if name == "" {
			continue
		}
		done = filepath.Join(done, name)
		target, err := os.Readlink(done)
		if err != nil {
			continue
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(done), target)
		}
		return filepath.Join(append([]string{target}, rest[i+1:]...)...), true
	}
	return path, false
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
