package source

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"regexp"
)

// maxMakefile bounds the kernel's top Makefile, which has 70 KB.
const maxMakefile = 1 << 20

var assignment = regexp.MustCompile(`^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION)[ \t]*:?=[ \t]*(.*?)[ \t]*$`)

// errNoKernel is what a tree without the kernel's Makefile is.
var errNoKernel = errors.New("not a kernel's source: its Makefile does not say VERSION and PATCHLEVEL")

// makefileVersion reads the version out of the kernel's top Makefile.
func makefileVersion(makefile []byte) (string, error) {
	found := map[string]string{}
	for lines := bufio.NewScanner(bytes.NewReader(makefile)); lines.Scan(); {
		m := assignment.FindSubmatch(lines.Bytes())
		if m == nil {
			continue
		}
		if name := string(m[1]); found[name] == "" {
			found[name] = string(m[2])
		}
	}
	if found["VERSION"] == "" || found["PATCHLEVEL"] == "" {
		return "", errNoKernel
	}
	if found["SUBLEVEL"] == "" {
		found["SUBLEVEL"] = "0"
	}
	version := fmt.Sprintf("%s.%s.%s%s", found["VERSION"], found["PATCHLEVEL"], found["SUBLEVEL"], found["EXTRAVERSION"])
	if !versionForm.MatchString(version) {
		return "", fmt.Errorf("its Makefile says version %.80q, which is none", version)
	}
	return version, nil
}
