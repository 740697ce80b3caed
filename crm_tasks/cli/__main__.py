"""`python -m crm_tasks.cli`: the same as `crm`."""

from crm_tasks.cli import crm

crm()
