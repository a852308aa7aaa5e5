//go:build !linux

package serve

import "errors"

// RunAs changes the user on Linux only.
func RunAs(string, string, string, []string, []string) error {
	return errors.New("user: can be changed on Linux only")
}
