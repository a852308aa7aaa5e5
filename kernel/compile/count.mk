count:
	@echo 0
