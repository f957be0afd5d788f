using System;
using System.Collections.Generic;
using System.Diagnostics.CodeAnalysis;
using System.IO;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Loader;
using System.Text.RegularExpressions;
using System.Threading;
using TorchSharp;

namespace AdvContrast.Engine;

/// <summary>
/// Loads libtorch where TorchSharp alone does not: on Linux with a libstdc++ older than GCC 13's (Debian 12,
/// Ubuntu 22.04), in F# scripts, and from the PyTorch that <see cref="FolderVariable"/> names.
/// </summary>
public static class LibTorch
{
    /// <summary>The environment variable that names the <c>lib</c> folder of a PyTorch to use; on Linux.</summary>
    public const string FolderVariable = "ADVCONTRAST_LIBTORCH";

    private const string Bridge = "LibTorchSharp";

    // In the order of their dependencies; a build for CPUs has no CUDA libraries.
    private static readonly string[] Libraries = ["c10", "torch_cpu", "c10_cuda", "torch_cuda", "torch"];

    private static readonly Lock Loading = new();
    private static readonly Dictionary<string, nint> Loaded = [];
    private static volatile bool isReady;
    private static string folder = "";
    private static string version = "";

    /// <summary>The version of libtorch that TorchSharp is built for.</summary>
    public static string ExpectedVersion => Natives.LibTorchVersion;

    /// <summary>The folder that libtorch was loaded from.</summary>
    /// <exception cref="LibTorchException">libtorch is missing or cannot be loaded.</exception>
    public static string Folder
    {
        get
        {
            Load();
            return folder;
        }
    }

    /// <summary>The version that libtorch states; the expected one where it cannot be asked.</summary>
    /// <exception cref="LibTorchException">libtorch is missing or cannot be loaded.</exception>
    public static string Version
    {
        get
        {
            Load();
            return version;
        }
    }

    /// <summary>
    /// Loads libtorch, once. A program or script that uses <c>torch</c> before anything of AdvContrast calls this first;
    /// AdvContrast's own entry points call it themselves. Writes a warning to standard error where
    /// <see cref="FolderVariable"/> names a libtorch of another version.
    /// </summary>
    /// <exception cref="LibTorchException">libtorch is missing or cannot be loaded.</exception>
    public static void Load()
    {
        if (isReady) return;
        lock (Loading)
        {
            LoadLibraries();
            LoadBridge();
        }
        try
        {
            RuntimeHelpers.RunClassConstructor(typeof(torch).TypeHandle);
        }
        catch (TypeInitializationException e)
        {
            throw new LibTorchException($"TorchSharp cannot start: {(e.InnerException ?? e).Message.Split('\n')[0]}", e);
        }
        isReady = true;
    }

    /// <summary>What the loader said of a library: the last line of a message that begins with advice.</summary>
    internal static string Reason(Exception e) => e.Message.Trim().Split('\n')[^1].Trim();

    /// <summary>A sentence where libtorch is not of the version that TorchSharp is built for, else null.</summary>
    internal static string? Warning(string folder, string version) =>
        version == ExpectedVersion
            ? null
            : $"AdvContrast: libtorch in {folder} is version {version}, and TorchSharp is built for {ExpectedVersion}: "
                + "results may be wrong, and the process may end.";

    // malloc's settings and the number of threads count only before libtorch is loaded.
    [ModuleInitializer]
    [SuppressMessage("Usage", "CA2255", Justification = "The handler must be there before TorchSharp's first use.")]
    internal static void Initialize()
    {
        NativeHeap.KeepFreedMemory();
        NativeEnvironment.UseAllProcessors();
        AssemblyLoadContext.Default.ResolvingUnmanagedDll += Resolve;
        if (string.IsNullOrEmpty(Environment.GetEnvironmentVariable(FolderVariable))) return;
        try
        {
            // Before TorchSharp finds the program's own.
            lock (Loading) LoadLibraries();
        }
        catch (LibTorchException)
        {
            // Load says it.
        }
    }

    // Called only for libraries that the ordinary search has not found or could not load.
    private static nint Resolve(Assembly assembly, string name)
    {
        // F# Interactive does not know where a script's native libraries are.
        if (assembly != typeof(torch).Assembly) return Natives.Find(name) is { } path ? LoadFile(path) : 0;
        lock (Loading)
        {
            LoadLibraries();
            if (name == Bridge) LoadBridge();
            return Loaded.GetValueOrDefault(name);
        }
    }

    // By full path: by name the process could take a libtorch that the system has.
    private static void LoadLibraries()
    {
        if (folder != "") return;
        var named = NamedFolder();
        // What an earlier attempt has loaded is from the folder named.
        var present = Loaded.Count > 0 ? null : Natives.FolderInProcess("torch_cpu");
        if (named is not null && present is not null && present != named)
            throw new LibTorchException(
                $"libtorch is loaded from {present} already, so {FolderVariable} = {named} comes too late: call "
                    + "LibTorch.Load() before anything uses torch.");
        var found = present ?? named ?? Path.GetDirectoryName(Natives.Find("torch_cpu")) ?? throw Missing("torch_cpu");
        foreach (var name in Libraries)
        {
            var path = Path.Combine(found, Natives.FileName(name));
            if (!File.Exists(path)) continue;
            Loaded[name] = LoadFile(path);
            if (named is not null) Natives.AnswerWith(Loaded[name], name);
        }
        // TorchSharp's library asks for it by this name; Debian's libtorch has another.
        if (named is not null && Natives.FolderInProcess("torch") is null)
            throw new LibTorchException(
                $"the libtorch in {found} lacks the name {Natives.FileName("torch")}, which TorchSharp asks for: set "
                    + $"{FolderVariable} to the lib folder of PyTorch's own package, of version {ExpectedVersion}.");
        version = StatedVersion(Loaded["torch_cpu"]);
        if (Warning(found, version) is { } warning) Console.Error.WriteLine(warning);
        folder = found;
    }

    private static void LoadBridge()
    {
        if (Loaded.ContainsKey(Bridge)) return;
        var path = Natives.Find(Bridge) ?? throw Missing(Bridge);
        try
        {
            Loaded[Bridge] = LoadFile(path);
        }
        catch (LibTorchException e) when (e.Message.Contains(WeakBridge.NewestVersion, StringComparison.Ordinal))
        {
            Loaded[Bridge] = WeakBridge.Load(path);
        }
    }

    private static string? NamedFolder()
    {
        if (Environment.GetEnvironmentVariable(FolderVariable) is not { Length: > 0 } named) return null;
        if (!OperatingSystem.IsLinux())
            throw new LibTorchException($"{FolderVariable} is read on Linux alone; unset it to use the package's libtorch.");
        var file = Natives.FileName("torch_cpu");
        return File.Exists(Path.Combine(named, file))
            ? Path.GetFullPath(named)
            : throw new LibTorchException(
                $"{FolderVariable} names {named}, which has no {file}; name the lib folder of a PyTorch, or unset it.");
    }

    private static nint LoadFile(string path)
    {
        try
        {
            return NativeLibrary.Load(path);
        }
        catch (Exception e) when (e is DllNotFoundException or BadImageFormatException)
        {
            throw new LibTorchException($"{path} cannot be loaded: {Reason(e)}", e);
        }
    }

    private static LibTorchException Missing(string library) => new(
        $"there is no {Natives.FileName(library)} beside the program or in its packages: reference the package "
            + $"libtorch-cpu-{Natives.Platform} {Natives.LibTorchVersion}, or set {FolderVariable} to the lib folder of a "
            + "PyTorch of this version.");

    // at::show_config() lists the build's settings, TORCH_VERSION among them. It returns a std::string: a pointer to
    // the characters and their number.
    private static unsafe string StatedVersion(nint libTorch)
    {
        if (!OperatingSystem.IsLinux()) return ExpectedVersion;
        if (!NativeLibrary.TryGetExport(libTorch, "_ZN2at11show_configB5cxx11Ev", out var export)) return "unknown";
        var text = stackalloc nint[4];
        ((delegate* unmanaged<nint*, nint*>)export)(text);
        var settings = Marshal.PtrToStringUTF8(text[0], (int)text[1]);
        var found = Regex.Match(settings, @"TORCH_VERSION=(\d+\.\d+\.\d+)");
        return found.Success ? found.Groups[1].Value : "unknown";
    }
}
