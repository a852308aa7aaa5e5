package compile

import (
	"bytes"
	"io"
	"regexp"
)

// compiled is make's line for an object: of the kernel, of a module, or of a
// program that runs while it is built.
var compiled = regexp.MustCompile(`^  (?:CC|AS|HOSTCC)(?: \[M\])?\s`)

// objectCounter passes make's output on and counts the objects in it.
type objectCounter struct {
	to   io.Writer
	add  func()
	line []byte // the start of a line whose end did not come yet
}

func (c *objectCounter) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		line, after, ended := bytes.Cut(rest, []byte("\n"))
		if len(c.line) < 256 { // more does not matter to know its kind
			c.line = append(c.line, line[:min(len(line), 256)]...)
		}
		if ended {
			if compiled.Match(c.line) {
				c.add()
			}
			c.line = c.line[:0]
		}
		rest = after
	}
	return c.to.Write(b)
}
