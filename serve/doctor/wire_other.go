//go:build !linux

package doctor

import (
	"context"
	"fmt"
	"net"
)

// openWire needs Linux; files can be fetched anywhere.
func openWire(context.Context, *net.Interface) (*wire, error) {
	return nil, fmt.Errorf("%w: asking by DHCP needs Linux", errRight)
}
