package modalias

import (
	"path"
	"strings"
)

// ModuleName gives the one spelling of a module's name that comparisons use, and the kernel: x-y is x_y.
func ModuleName(name string) string { return strings.ReplaceAll(name, "-", "_") }

// ModuleOf is the name of the module in a file: that of "kernel/net/8021q/x-y.ko.xz" is "x_y".
func ModuleOf(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return ModuleName(name)
}

// Normal spells an alias as libkmod does before it compares (alias_normalize in libkmod): - becomes _, but inside of
// brackets, be they those of a pattern or just characters in what a device calls itself. ok is false if brackets do not
// pair: depmod leaves such a pattern out of what modprobe reads, and modprobe finds nothing for such a device.
func Normal(alias string) (normal string, ok bool) {
	if !strings.ContainsAny(alias, "-[]") {
		return alias, true
	}
	b := []byte(alias)
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '-':
			b[i] = '_'
		case ']':
			return "", false
		case '[':
			end := strings.IndexByte(alias[i:], ']')
			if end < 0 {
				return "", false
			}
			i += end
		}
	}
	return string(b), true
}
