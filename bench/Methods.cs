namespace AdvContrast.Bench;

/// <summary>Changes of methods.</summary>
internal static class Methods
{
    /// <summary>
    /// A method with another step, optimizer and batch size, whose run does not end of itself.
    /// </summary>
    internal static Core.Methods.Method With(
        this Core.Methods.Method m, Core.Methods.Step step, Core.Optim.Transform optimizer, int batch)
    {
        var recipe = new Core.Methods.Recipe(
            optimizer, batch, Endless, 1, m.Recipe.Dataset, m.Recipe.Network, m.Recipe.Trains);
        return new(
            m.Name, m.Summary, m.Citation, m.Quirks, m.Before, m.From, m.Branches, m.Head, step,
            m.Averages, m.Memory, m.Sampling, recipe, m.Deploy);
    }

    /// <summary>Epochs of a run that the caller ends.</summary>
    internal const int Endless = 1_000_000;
}
