// SPDX-License-Identifier: GPL-2.0
#include <linux/module.h>

const char *hooksmith_greeting(void); /* of testdata/hello */

static int __init greet_init(void)
{
	pr_info("greet: %s\n", hooksmith_greeting());
	return 0;
}
module_init(greet_init);

static void __exit greet_exit(void) {}
module_exit(greet_exit);

MODULE_DESCRIPTION("uses another module from outside, for hooksmith's tests");
MODULE_LICENSE("GPL");
