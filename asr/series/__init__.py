"""Forecasting: a table of a time series in, forecasts and their scores out."""
