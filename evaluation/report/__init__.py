"""The report page of trained runs: tables, figures and costs in one HTML file."""
