"""The machinery: database, Redis, queues, the ledger of jobs and their workers. Knows no room of the CRM."""
