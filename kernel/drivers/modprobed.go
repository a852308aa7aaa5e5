package drivers

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"hooksmith/guest/modalias"
)

// modprobeConf is what modprobe.d(5) says that bears on loading by alias.
type modprobeConf struct {
	blacklist map[string]string // module: the file that says so
	disabled  map[string]string // module: "install" that loads nothing
	aliases   [][2]string       // pattern, module
}

// modprobeDirs are those of libkmod; a file in an earlier one hides the file
// of the same name in a later one.
var modprobeDirs = []string{"etc/modprobe.d", "run/modprobe.d", "usr/local/lib/modprobe.d", "usr/lib/modprobe.d", "lib/modprobe.d"}

// maxConf bounds one file of modprobe.d.
const maxConf = 1 << 20

func readModprobeConf(root fs.FS) (*modprobeConf, error) {
	c := &modprobeConf{blacklist: map[string]string{}, disabled: map[string]string{}}
	files := map[string]string{}
	for _, dir := range modprobeDirs {
		entries, err := fs.ReadDir(root, dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			continue // a file where a folder is expected: modprobe passes it over too
		}
		for _, e := range entries {
			if _, hidden := files[e.Name()]; !hidden && strings.HasSuffix(e.Name(), ".conf") {
				files[e.Name()] = path.Join(dir, e.Name())
			}
		}
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := c.read(root, files[name]); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *modprobeConf) read(root fs.FS, name string) error {
	f, err := root.Open(name)
	if err != nil {
		return nil // a link to /dev/null or to nothing switches a file off
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil
	}
	scan := bufio.NewScanner(io.LimitReader(f, maxConf))
	scan.Buffer(nil, maxConf)
	line := ""
	for scan.Scan() {
		text, goesOn := strings.CutSuffix(scan.Text(), `\`)
		line += text
		if !goesOn {
			c.line(name, strings.Fields(line))
			line = ""
		}
	}
	c.line(name, strings.Fields(line))
	return scan.Err()
}

func (c *modprobeConf) line(file string, words []string) {
	if len(words) < 2 {
		return
	}
	module := modalias.ModuleName(words[1])
	switch {
	case words[0] == "blacklist":
		c.blacklist[module] = file
	case words[0] == "alias" && len(words) == 3:
		c.aliases = append(c.aliases, [2]string{words[1], modalias.ModuleName(words[2])})
	case words[0] == "install" && len(words) > 2 && (path.Base(words[2]) == "false" || path.Base(words[2]) == "true" || words[2] == ":"):
		c.disabled[module] = file
	}
}
