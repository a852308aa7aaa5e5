package main

import (
	"os"
	"strings"
	"testing"
)

// TestRecipes makes every configuration for which HOOKSMITH_KERNEL_SOURCES (unpacked trees, separated by colons; what
// scripts/kernel-configs.sh unpacks) has the Kconfig, and compares it with the file that is there.
func TestRecipes(t *testing.T) {
	trees := os.Getenv("HOOKSMITH_KERNEL_SOURCES")
	if os.Getenv("HOOKSMITH_KERNEL") == "" || trees == "" {
		t.Skip("HOOKSMITH_KERNEL and HOOKSMITH_KERNEL_SOURCES are not set: run scripts/kernel-configs.sh --check")
	}
	args := []string{"-dir", "../../configs/kernel", "-work", t.TempDir(), "-check"}
	for _, tree := range strings.Split(trees, ":") {
		args = append(args, "-source", tree)
	}
	if err := run(t.Context(), args, t.Output()); err != nil {
		t.Fatal(err)
	}
}
