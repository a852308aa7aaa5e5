package kernel

import "strings"

// Labels of the kernel images that hooksmith makes. Images of others have
// none; those that Hook publishes have the configuration generic.
const (
	LabelVersion = "dev.hooksmith.kernel.version" // 6.12.48
	LabelConfig  = "dev.hooksmith.kernel.config"  // name of the configuration: generic-6.12.y-x86_64

	LabelConfigSHA256 = "dev.hooksmith.kernel.config.sha256" // of its text
)

// ConfigOf is the first part of the configuration's name that an image was
// built with: generic, vm.
func ConfigOf(labels map[string]string) string {
	const unnamed = "generic"
	name := labels[LabelConfig]
	if i := strings.LastIndex(name, ".y-"); i > 0 {
		if j := strings.LastIndexByte(name[:i], '-'); j > 0 {
			name = name[:j]
		}
	}
	if name == "" {
		return unnamed
	}
	return name
}
