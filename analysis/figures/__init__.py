"""Pictures that stand still: functions from statistics, words and a theme to Plotly figures. Knows no page."""
