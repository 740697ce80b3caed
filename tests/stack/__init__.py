"""Tests of `crm up`: real servers, real processes, real signals."""
