# How many objects a folder of the kernel compiles with the configuration
# .config, and the folders below it that are part of it, as one line:
#   make -s -f count.mk obj=drivers/net
# It reads kbuild's makefile of the folder as kbuild does, with all that calls
# the compiler left undefined. What is said in rules only is not seen, so that
# the sum is an estimate.
include .config

srctree := .
src := $(obj)
SRCARCH := $(if $(filter x86_64,$(ARCH)),x86,$(ARCH))
BITS := 64

.PHONY: count
count:

-include $(firstword $(wildcard $(obj)/Kbuild $(obj)/Makefile))

# Composite objects: foo.o of foo-y, foo-objs, and foo-m of modules.
parts = $(strip $($(1:.o=-y)) $($(1:.o=-objs)) $($(1:.o=-m)))
real = $(foreach o,$1,$(or $(call parts,$o),$o))

all := $(obj-y) $(obj-m) $(lib-y)
objects := $(sort $(filter %.o,$(call real,$(filter %.o,$(all)))))
modules := $(sort $(filter-out $(obj-y),$(filter %.o,$(obj-m))))
below := $(sort $(patsubst %/,%,$(filter %/,$(all) $(foreach o,$(filter %.o,$(all)),$(call parts,$o)))) $(subdir-y) $(subdir-m))

count:
	@echo $(words $(objects) $(modules)) $(addprefix $(obj)/,$(below))

# Rules of the folder's makefile are not ours to run.
.DEFAULT_GOAL := count
MAKEFLAGS += -r
