// SPDX-License-Identifier: GPL-2.0
#include <linux/hooksmith_test.h> /* of testdata/header.patch */
#include <linux/module.h>

const char *hooksmith_greeting(void);
const char *hooksmith_greeting(void)
{
	return HOOKSMITH_GREETING;
}
EXPORT_SYMBOL_GPL(hooksmith_greeting);

static int __init hello_init(void)
{
	pr_info("%s\n", hooksmith_greeting());
	return 0;
}
module_init(hello_init);

static void __exit hello_exit(void) {}
module_exit(hello_exit);

MODULE_DESCRIPTION("says hello, for hooksmith's tests");
MODULE_ALIAS("hooksmith:hello");
MODULE_LICENSE("GPL");
