"""Figures and housekeeping over long times. Queue `analytics`: low in priority, on prefork, away from customers."""
