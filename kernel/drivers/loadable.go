package drivers

import (
	"fmt"
	"slices"
	"strings"

	"hooksmith/guest/modalias"
)

// essential are drivers that do nothing at all when none of their files are
// there, in the words of configs/modules.yaml (firmware). The others have a
// fallback, or need files for a few of their devices only.
var essential = map[string]bool{
	"bnx2": true, "bnx2x": true, "qed": true, "qede": true, "qedf": true, "qedi": true, "qedr": true,
	"bna": true, "bfa": true, "hfi1": true, "liquidio": true, "typhoon": true, "tehuti": true, "tn40xx": true,
	"advansys": true, "qla1280": true, "ib_qib": true, "kaweth": true,
}

// problem says why modprobe would not load a module that is in; "" if it would.
func (a *Artifact) problem(name string) string {
	if file := a.conf.blacklist[name]; file != "" {
		return "blacklisted in /" + file
	}
	if file := a.conf.disabled[name]; file != "" {
		return "switched off by install in /" + file
	}
	if a.deps != nil {
		needs, ok := a.deps[name]
		if !ok {
			return "not in modules.dep: depmod was not run"
		}
		for _, p := range needs {
			if dep := modalias.ModuleOf(p); a.modules[dep] == nil {
				return fmt.Sprintf("needs %s, which is not in", dep)
			}
		}
	}
	for _, dep := range a.closure(name) {
		for _, need := range a.needs(dep) {
			if !a.has(need) && len(a.builtin) > 0 {
				return fmt.Sprintf("needs %s, which is not in", need)
			}
		}
		if file := a.conf.disabled[dep]; file != "" {
			return fmt.Sprintf("needs %s, which is switched off in /%s", dep, file)
		}
	}
	return ""
}

func (a *Artifact) needs(name string) []string {
	if m := a.modules[name]; m != nil {
		return m.Depends
	}
	return nil
}

// closure is the module and all that it needs, as far as it is in, in a fixed order.
func (a *Artifact) closure(name string) []string {
	list := []string{name}
	for i := 0; i < len(list); i++ {
		for _, need := range a.needs(list[i]) {
			if a.has(need) && !slices.Contains(list, need) {
				list = append(list, need)
			}
		}
	}
	return list
}

// softMissing lists soft dependencies of a module that are neither in nor
// built in; they are wishes, and most have a substitute.
func (a *Artifact) softMissing(name string) []string {
	m := a.modules[name]
	if m == nil {
		return nil
	}
	var list []string
	for _, line := range m.Softdeps {
		for word := range strings.FieldsSeq(line) {
			if n := modalias.ModuleName(word); word != "pre:" && word != "post:" && !a.has(n) && !slices.Contains(list, n) {
				list = append(list, n)
			}
		}
	}
	return list
}
