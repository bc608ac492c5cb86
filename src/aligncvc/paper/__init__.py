"""The paper stage: tables, figures and the report, from files alone."""
