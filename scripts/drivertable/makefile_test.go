package main

import (
	"maps"
	"testing"
)

func TestAddMakefile(t *testing.T) {
	got := map[string]string{}
	addMakefile(got, "drivers/net", `# SPDX-License-Identifier: GPL-2.0
obj-$(CONFIG_BE2NET) += be2net.o
be2net-y :=  be_main.o be_cmds.o
  obj-$(CONFIG_A)	+= a.o b.o \
	c.o	# the rest
obj-$(subst m,y,$(CONFIG_SUB)) += sub.o
obj-$(CONFIG_SECOND) += be2net.o
obj-y += always.o
obj-$(CONFIG_DIR) += dir/
`)
	want := map[string]string{
		"drivers/net/be2net": "CONFIG_BE2NET", "drivers/net/a": "CONFIG_A", "drivers/net/b": "CONFIG_A",
		"drivers/net/c": "CONFIG_A", "drivers/net/sub": "CONFIG_SUB",
	}
	if !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
}
